"""The parts of learning algorithms: observations, distributions, critics, returns, replay."""
