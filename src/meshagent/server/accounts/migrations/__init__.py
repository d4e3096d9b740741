"""Changes of the accounts schema, one revision each; run when a server starts."""
