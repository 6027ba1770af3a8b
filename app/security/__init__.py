"""Who may do what: settings, logins, roles, and the check that every action passes."""
