"""From a design to files: Verilog, synthesis, place and route, audits."""
