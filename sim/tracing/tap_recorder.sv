// Records the writes of a vector, for tap_recorder.cpp: a record for each group of WIDTH values of 16
// bits. VECTOR is the vector's number. SEGMENT_CYCLES later a vector's last values are written than
// the segment that they belong to has ended.
module tap_recorder #(
    parameter VECTOR = 0,
    parameter WIDTH = 4,
    parameter SEGMENT_CYCLES = 4
) (
    input clk,
    input [63:0] cycle,
    input [15:0] segment,
    input enable,
    input [31:0] group,
    input [WIDTH-1:0] keep,
    input [16*WIDTH-1:0] data
);
  // Whole words, which is how both sides take bits.
  localparam KEEP_BITS = (WIDTH + 31) / 32 * 32;
  localparam DATA_BITS = (WIDTH + 1) / 2 * 32;

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

  reg [16*SEGMENT_CYCLES-1:0] segments;

  always @(posedge clk) begin
    segments <= {segments[16*(SEGMENT_CYCLES-1)-1:0], segment};
    if (enable)
      mmfree_tap(VECTOR, cycle, 32'(segments[16*SEGMENT_CYCLES-1-:16]), group,
                 KEEP_BITS / 32, KEEP_BITS'(keep), DATA_BITS / 32, DATA_BITS'(data));
  end
endmodule
