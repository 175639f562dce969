"""The chip in a page: its RTL in WebAssembly, what checks it, and a file that holds both."""
