"""Who may say what: keys, signatures, identities, policy, and what we accepted. Pure."""
