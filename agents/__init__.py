"""Learning algorithms, one a file: a frozen `Config`, an `Agent` fulfilling
`bio_rl.contracts.Agent`, and presets as TOML.
"""
