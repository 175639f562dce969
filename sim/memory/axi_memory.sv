// A port of an external memory, for simulations: an AXI4 read slave that gives the bytes of the files
// which memory.cpp maps, and $fatal if its master breaks the protocol.
//
// In order, one beat per cycle. The first beat of a burst comes latency_low to latency_high cycles
// after its address was taken, if no beat before it is left; address_withheld and withheld are the
// probabilities, in 65536ths per cycle, of no ARREADY and of no further beat. What is random follows
// from seed and PORT, and begins again with a reset.
//
// For tests: beats at error_address are answered by SLVERR while error is 1. From mute on, the burst
// that comes mute_after bursts later is never answered, nor is any after it, until a reset.
//
// beats, bursts (whose address was taken), cycles and throttled (cycles in which withheld closed the
// port, whether or not there was a beat to give) are counted from the reset on.
module axi_memory #(
    parameter BITS = 128,
    parameter PORT = 0
) (
    input clk,
    input rst,
    input [39:0] araddr,
    input [7:0] arlen,
    input [2:0] arsize,
    input [1:0] arburst,
    input arvalid,
    output reg arready,
    output reg [BITS-1:0] rdata,
    output reg [1:0] rresp,
    output reg rlast,
    output reg rvalid,
    input rready,
    input [39:0] base,
    input [15:0] latency_low,
    input [15:0] latency_high,
    input [15:0] address_withheld,
    input [15:0] withheld,
    input [31:0] seed,
    input error,
    input [39:0] error_address,
    input mute,
    input [15:0] mute_after,
    output reg [63:0] beats,
    output reg [63:0] bursts,
    output reg [63:0] cycles,
    output reg [63:0] throttled
);
  import "DPI-C" function int mmfree_memory_read(
    input longint unsigned offset,
    input int bytes,
    output bit [BITS-1:0] data
  );

  localparam BYTES = BITS / 8;
  localparam OKAY = 2'd0, SLVERR = 2'd2, DECERR = 2'd3;
  // Bursts whose address was taken and whose last beat was not given yet.
  localparam MOST = 64;

  reg [39:0] address[0:MOST-1];
  reg [7:0] length[0:MOST-1];
  reg [63:0] due[0:MOST-1];
  reg [5:0] first, free;
  reg [6:0] waiting;
  reg [7:0] beat;
  reg [63:0] last_due, draw;
  reg muting;
  reg [63:0] muted_burst;

  // xorshift64: three groups of bits that are used for one thing each.
  wire [63:0] draw_a = draw ^ (draw << 13);
  wire [63:0] draw_b = draw_a ^ (draw_a >> 7);
  wire ready = draw[15:0] >= address_withheld;
  wire open = draw[31:16] >= withheld;
  wire [47:0] spread = 48'(draw[63:32]) * (48'(latency_high) - 48'(latency_low) + 48'd1);
  // A beat that is set in a cycle is seen in the next: so much less than the latency.
  wire [63:0] soonest = cycles + 64'(latency_low) + 64'(spread[47:32]) - 64'd1;

  wire taken = arvalid && arready;
  wire [39:0] current = address[first] + 40'(beat) * 40'(BYTES);
  wire there = waiting != 0 && due[first] <= cycles && !(muting && bursts - 64'(waiting) >= muted_burst);
  wire give = (!rvalid || rready) && open && there;
  wire last = beat == length[first];

  bit [BITS-1:0] bytes;
  bit inside_image;

  always @(posedge clk) begin
    draw <= draw_b ^ (draw_b << 17);
    cycles <= cycles + 64'd1;
    throttled <= throttled + 64'(!open);
    arready <= ready && waiting + 7'(taken) < 7'(MOST);
    waiting <= waiting + 7'(taken) - 7'(give && last);
    if (taken) begin
      address[free] <= araddr;
      length[free] <= arlen;
      due[free] <= soonest > last_due ? soonest : last_due;
      last_due <= soonest > last_due ? soonest : last_due;
      free <= free + 6'd1;
      bursts <= bursts + 64'd1;
    end
    if (rready) rvalid <= 1'b0;
    if (give) begin
      inside_image = mmfree_memory_read(64'(current - base), BYTES, bytes) != 0;
      rdata <= bytes;
      rresp <= !inside_image ? DECERR : error && current == error_address ? SLVERR : OKAY;
      rlast <= last;
      rvalid <= 1'b1;
      beats <= beats + 64'd1;
      beat <= last ? 8'd0 : beat + 8'd1;
      if (last) first <= first + 6'd1;
    end
    if (mute) begin
      muting <= 1'b1;
      muted_burst <= bursts + 64'(mute_after);
    end
    if (rst) begin
      {first, free, waiting, beat} <= 0;
      {arready, rvalid, rlast, muting} <= 0;
      {beats, bursts, cycles, throttled, last_due} <= 0;
      // Never 0, which would stay.
      draw <= {seed, 32'(PORT) * 32'd2 + 32'd1} * 64'h9E3779B97F4A7C15;
    end
  end

  // What a master must not do (AXI4, A3).
  reg waits, in_reset;
  reg [39:0] asked_address;
  reg [7:0] asked_length;

  always @(posedge clk) begin
    in_reset <= rst;
    waits <= arvalid && !arready && !rst;
    asked_address <= araddr;
    asked_length <= arlen;
    if (rst && in_reset && arvalid) $fatal(1, "axi port %0d: ARVALID during a reset", PORT);
    if (!rst && waits && !in_reset) begin
      if (!arvalid) $fatal(1, "axi port %0d: ARVALID dropped before ARREADY", PORT);
      if (araddr != asked_address || arlen != asked_length)
        $fatal(1, "axi port %0d: ARADDR or ARLEN changed before ARREADY", PORT);
    end
    if (!rst && taken) begin
      if (arsize != 3'($clog2(BYTES)))
        $fatal(1, "axi port %0d: beats of %0d bytes on a port of %0d", PORT, 1 << arsize, BYTES);
      if (arburst != 2'd1) $fatal(1, "axi port %0d: ARBURST %0d, not INCR", PORT, arburst);
      if (araddr % 40'(BYTES) != 0)
        $fatal(1, "axi port %0d: address %0h of beats of %0d bytes", PORT, araddr, BYTES);
      if (32'(araddr[11:0]) + (32'(arlen) + 32'd1) * 32'(BYTES) > 32'd4096)
        $fatal(1, "axi port %0d: the burst from %0h on crosses 4 KB", PORT, araddr);
    end
  end
endmodule
