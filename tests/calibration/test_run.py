from tests.calibration.campaign import counts, made, factors_sha256


def test_x(base):
    print(counts(base.output))
    print(made(base.output), factors_sha256(base))
