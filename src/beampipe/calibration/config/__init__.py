"""What a calibration is told: samples, cuts, regions, taggers, systematics; read from TOML once, then frozen."""
