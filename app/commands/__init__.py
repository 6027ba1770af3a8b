"""The command's groups, one a file; bodies import what is heavy when they run, so that help is instant."""
