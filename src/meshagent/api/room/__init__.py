"""The room client and its sub-clients, one module each."""
