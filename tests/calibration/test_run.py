from tests.calibration.campaign import counts, factors_sha256, made


def test_x(base):
    print(counts(base.output))
    print(made(base.output), factors_sha256(base))
