// Behavioural models of UltraScale+ cells that a synthesizer leaves as they are, as far as this project uses them; they stop the simulation at
// other settings.

// A table of six inputs. O5 is its lower half, whatever I5 is; O6 the half that I5 selects.
module LUT6_2 #(
    parameter [63:0] INIT = 0
) (
    input I0, I1, I2, I3, I4, I5,
    output O5, O6
);
    wire [4:0] index = {I4, I3, I2, I1, I0};
    assign O5 = INIT[{1'b0, index}];
    assign O6 = INIT[{I5, index}];
endmodule

// Eight positions of a carry chain: where S is 1 the carry goes on, elsewhere it is DI.
module CARRY8 #(
    parameter CARRY_TYPE = "SINGLE_CY8"
) (
    input CI, CI_TOP,
    input [7:0] DI, S,
    output [7:0] O, CO
);
    initial
        if (CARRY_TYPE != "SINGLE_CY8")
            $fatal(1, "CARRY8: no model of CARRY_TYPE %s", CARRY_TYPE);

    assign O = S ^ {CO[6:0], CI};
    assign CO = S & {CO[6:0], CI} | ~S & DI;
endmodule
