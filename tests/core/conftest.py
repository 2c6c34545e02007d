from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: time limits are measured in the processor's own seconds, in
# the tests that have one.
settings.register_profile("core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
