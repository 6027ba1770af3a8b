"""The faces: the `quantbot` command and the web app."""
