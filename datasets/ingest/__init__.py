"""Raw formats, one a file: checked, never half."""
