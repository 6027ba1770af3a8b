"""Schedules: what falls due becomes a job, once; a job refreshes data, has runs computed, and leaves a morning report.

`document` reads a schedule's file, `rules` says when it falls due, `scheduler` makes jobs, `steps` brings them to
their end, `tasks` and `pins` say which runs they consist of, `record` and `drift` what came of them, `jobs` where it
all lies.
"""
