"""How sure a name is, and what error rates can be promised."""
