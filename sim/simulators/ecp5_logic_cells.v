// Cells of the ECP5 that a synthesizer makes, for simulations of a netlist: beside those of ecp5_cells.v. Of each, outputs alone are traced.

module LUT4 #(
    parameter [15:0] INIT = 0
) (
    /* verilator tracing_off */
    input A, B, C, D,
    /* verilator tracing_on */
    output Z
);
    assign Z = INIT[{D, C, B, A}];
endmodule

// The multiplexer after two LUT4, and the one after two of these.
module PFUMX (
    /* verilator tracing_off */
    input ALUT, BLUT, C0,
    /* verilator tracing_on */
    output Z
);
    assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (
    /* verilator tracing_off */
    input D0, D1, SD,
    /* verilator tracing_on */
    output Z
);
    assign Z = SD ? D1 : D0;
endmodule

// 16 words of 4 bits: written at a rising edge, read at once.
module TRELLIS_DPR16X4 #(
    parameter WCKMUX = "WCK", WREMUX = "WRE",
    parameter [63:0] INITVAL = 0
) (
    /* verilator tracing_off */
    input [3:0] DI, WAD, RAD,
    input WRE, WCK,
    /* verilator tracing_on */
    output [3:0] DO
);
    /* verilator tracing_off */
    reg [3:0] words [0:15];
    integer n;
    initial begin
        if (WCKMUX != "WCK" || WREMUX != "WRE") begin
            $display("Error: TRELLIS_DPR16X4: no model of this clock or enable");
            $finish;
        end
        for (n = 0; n < 16; n = n + 1)
            words[n] = INITVAL[4 * n +: 4];
    end
    always @(posedge WCK)
        if (WRE)
            words[WAD] <= DI;
    assign DO = words[RAD];
endmodule
