"""The test kit, public: real servers for tests, the demo and benchmarks."""
