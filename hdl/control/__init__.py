"""Control: the sequencer, requests of a host, counters and faults."""
