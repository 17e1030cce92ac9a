"""Many trainings: their cases, processes, figures and files, and the search for settings."""
