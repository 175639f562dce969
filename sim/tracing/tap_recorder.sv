// Records the writes of a vector, for tap_recorder.cpp: a record for each group of WIDTH values of
// BITS bits, which are numbers that may be negative if they are SIGNED. VECTOR is the vector's number.
// In a record a value takes STORED_BITS, as many for every vector of a chip. SEGMENT_CYCLES later a
// vector's last values are written than the segment that they belong to has ended.
module tap_recorder #(
    parameter VECTOR = 0,
    parameter WIDTH = 4,
    parameter BITS = 16,
    parameter SIGNED = 1,
    parameter STORED_BITS = 16,
    parameter SEGMENT_CYCLES = 4
) (
    input clk,
    input [63:0] cycle,
    input [15:0] segment,
    input enable,
    input [31:0] group,
    input [WIDTH-1:0] keep,
    input [BITS*WIDTH-1:0] data
);
  // Whole words, which is how both sides take bits.
  localparam KEEP_BITS = (WIDTH + 31) / 32 * 32;
  localparam DATA_BITS = (STORED_BITS * WIDTH + 31) / 32 * 32;

  import "DPI-C" function void mmfree_tap(
    input int vector,
    input longint unsigned cycle,
    input int segment,
    input int group,
    input int keep_words,
    input bit [KEEP_BITS-1:0] keep,
    input int data_words,
    input bit [DATA_BITS-1:0] data
  );

  wire [STORED_BITS*WIDTH-1:0] stored;

  for (genvar lane = 0; lane < WIDTH; lane++) begin : lanes
    if (SIGNED != 0)
      assign stored[STORED_BITS*lane+:STORED_BITS] = STORED_BITS'($signed(data[BITS*lane+:BITS]));
    else
      assign stored[STORED_BITS*lane+:STORED_BITS] = STORED_BITS'(data[BITS*lane+:BITS]);
  end

  reg [16*SEGMENT_CYCLES-1:0] segments;

  always @(posedge clk) begin
    segments <= {segments[16*(SEGMENT_CYCLES-1)-1:0], segment};
    if (enable)
      mmfree_tap(VECTOR, cycle, 32'(segments[16*SEGMENT_CYCLES-1-:16]), group,
                 KEEP_BITS / 32, KEEP_BITS'(keep), DATA_BITS / 32, DATA_BITS'(stored));
  end
endmodule
