// Behavioural models of ECP5 cells that a synthesizer leaves as they are. They follow the cells' documented behaviour as far as this
// project, and Yosys for it, uses them, and stop the simulation at other settings.

// Block RAM of 2048 lanes of 9 bits, with two sides. Side A writes; a word has 1, 2 or 4 lanes (DATA_WIDTH 9, 18, 36), alike on both sides.
// Words of 4 lanes are written from DIA and DIB together, and read by side B to DOA (low half) and DOB.
// What the contract of hdl/memory/block_memory.py leaves open is X: a word that one side reads while the other writes it, and what side A shows of a
// cycle in which it writes.
/* verilator tracing_off */
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "DISABLED",
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB",
    // Two lanes in each 20 bits, of which the upper two are unused.
    parameter [319:0]
    INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
    INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
    INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0,
    INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
    INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
    INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
    INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0,
    INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
    INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
    INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
    INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input CLKA, CEA, OCEA, WEA, RSTA, CSA2, CSA1, CSA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5,
    DIA4, DIA3, DIA2, DIA1, DIA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5,
    DOA4, DOA3, DOA2, DOA1, DOA0,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB2, CSB1, CSB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5,
    DIB4, DIB3, DIB2, DIB1, DIB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5,
    DOB4, DOB3, DOB2, DOB1, DOB0
);
    localparam LANES = DATA_WIDTH_A / 9;
    localparam DEPTH = 2048 / LANES, WORD_BITS = $clog2(DEPTH);
    localparam [64 * 320 - 1:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39,
        INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
        INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B,
        INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24,
        INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D,
        INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
        INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00
    };

    wire [13:0] ada = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [13:0] adb = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
    };
    wire [35:0] written = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0,
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
        DIA3, DIA2, DIA1, DIA0
    };

    // A word's address is on the upper pins; on the lowest, unless it is one lane, are the write enables of its lanes.
    wire [WORD_BITS - 1:0] word_a = ada[13 -: WORD_BITS];
    wire [WORD_BITS - 1:0] word_b = adb[13 -: WORD_BITS];
    wire [3:0] enables = LANES == 1 ? 4'b0001 : LANES == 2 ? {2'b00, ada[1:0]} : ada[3:0];
    wire selected_a = CEA && {CSA2, CSA1, CSA0} == 3'b000;
    wire selected_b = CEB && {CSB2, CSB1, CSB0} == 3'b000;

    reg [DATA_WIDTH_A - 1:0] words [0:DEPTH - 1];
    reg [319:0] initial_value;
    reg [DATA_WIDTH_A - 1:0] latch_a, latch_b, register_a, register_b;

    initial begin
        if (DATA_WIDTH_B != DATA_WIDTH_A || (LANES != 1 && LANES != 2 && LANES != 4) || LANES * 9 != DATA_WIDTH_A)
            $fatal(1, "DP16KD: no model of widths %0d and %0d", DATA_WIDTH_A, DATA_WIDTH_B);
        if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
            $fatal(1, "DP16KD: no model of inverted clocks or selects");
        if (LANES == 4 && REGMODE_A != REGMODE_B)
            $fatal(1, "DP16KD: both halves of a word need the same REGMODE");
        for (integer i = 0; i < 64; i = i + 1) begin
            initial_value = INITIAL[i * 320 +: 320];
            for (integer n = 0; n < 32; n = n + 1)
                words[(i * 32 + n) / LANES][n % LANES * 9 +: 9] = initial_value[n / 2 * 20 + n % 2 * 9 +: 9];
        end
    end

    always @(posedge CLKA) begin
        if (WEB !== 1'b0 || RSTA !== 1'b0 || RSTB !== 1'b0)
            $fatal(1, "DP16KD: no model of writes on side B, nor of resets");
        if (selected_a) begin
            if (WEA)
                for (integer n = 0; n < LANES; n = n + 1)
                    if (enables[n])
                        words[word_a][n * 9 +: 9] <= written[n * 9 +: 9];
            latch_a <= WEA ? {DATA_WIDTH_A{1'bx}} : words[word_a];
        end
        if (OCEA)
            register_a <= latch_a;
    end

    // Both sides have the same clock: what side A does at this edge is seen on its pins.
    wire collides = selected_a && WEA && word_a == word_b && |enables;
    always @(posedge CLKB) begin
        if (selected_b)
            latch_b <= collides ? {DATA_WIDTH_A{1'bx}} : words[word_b];
        if (OCEB)
            register_b <= latch_b;
    end

    wire [35:0] read_a = REGMODE_A == "OUTREG" ? register_a : latch_a;
    wire [35:0] read_b = REGMODE_B == "OUTREG" ? register_b : latch_b;
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4,
        DOA3, DOA2, DOA1, DOA0
    } = LANES == 4 ? read_b[17:0] : read_a[17:0];
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
        DOB3, DOB2, DOB1, DOB0
    } = LANES == 4 ? read_b[35:18] : read_b[17:0];
endmodule
/* verilator tracing_on */

// Two bits of a carry chain: the LUT4 of each half is its propagate, and the quarter of it where C and D are 0 its generate.
module CCU2C #(
    parameter [15:0] INIT0 = 0, INIT1 = 0,
    parameter INJECT1_0 = "YES", INJECT1_1 = "YES"
) (
    /* verilator tracing_off */
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    /* verilator tracing_on */
    output S0, S1, COUT
);
    /* verilator tracing_off */
    wire propagate_0 = INIT0[{D0, C0, B0, A0}];
    wire propagate_1 = INIT1[{D1, C1, B1, A1}];
    wire generate_0 = INJECT1_0 != "YES" && INIT0[{B0, A0}];
    wire generate_1 = INJECT1_1 != "YES" && INIT1[{B1, A1}];
    wire middle = propagate_0 ? CIN : generate_0;
    assign S0 = propagate_0 ^ (INJECT1_0 != "YES" && CIN);
    assign S1 = propagate_1 ^ (INJECT1_1 != "YES" && middle);
    assign COUT = propagate_1 ? middle : generate_1;
endmodule

// Flip-flop: rising edge; a reset to its initial value, which the enable may not hold back.
module TRELLIS_FF #(
    parameter GSR = "DISABLED",
    parameter CEMUX = "1",
    parameter CLKMUX = "CLK",
    parameter LSRMUX = "LSR",
    parameter SRMODE = "LSR_OVER_CE",
    parameter REGSET = "RESET"
) (
    /* verilator tracing_off */
    input CLK, LSR, CE, DI,
    /* verilator tracing_on */
    output reg Q
);
    /* verilator tracing_off */
    wire enabled = CEMUX == "CE" ? CE : CEMUX == "INV" ? ~CE : 1'b1;
    wire cleared = LSRMUX == "INV" ? ~LSR : LSR;
    initial begin
        if (CLKMUX != "CLK" || SRMODE != "LSR_OVER_CE") begin
            $display("Error: TRELLIS_FF: no model of this clock or reset");
            $finish;
        end
        Q = REGSET == "SET";
    end
    always @(posedge CLK)
        if (cleared)
            Q <= REGSET == "SET";
        else if (enabled)
            Q <= DI;
endmodule
