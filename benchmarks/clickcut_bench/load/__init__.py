"""`clickcut bench load`: many virtual annotators on one server, in an open loop."""
