"""Who may say what: keys, signatures, identities, policy, and the set of statements we accepted. Pure."""
