import numpy as np
import pytest

from beampipe.tracking.kernels import _native, reference_map

from .toy_map import toy_hits, toy_windows


def native_windows(w):
    return _native.Windows(w.layers, w.pairs, w.pair_windows, w.out_begin, w.triplet_windows)


@pytest.mark.parametrize("seed", range(5))
def test_edges(seed):
    w = toy_windows(seed)
    x = toy_hits(900, seed)
    want = reference_map.module_map_edges(x, w)
    got = _native.module_map_edges(x, native_windows(w), 2)
    print(want.shape, got.shape)
    a = set(map(tuple, want.T.tolist())); b = set(map(tuple, got.T.tolist()))
    print(len(a - b), len(b - a))
    assert len(a ^ b) <= 2
    t, c = reference_map.triplets(x, want, w)
    t2, c2 = _native.triplets(x, want, native_windows(w), 2)
    print(t.shape, t2.shape)
    np.testing.assert_array_equal(t, t2)
    np.testing.assert_allclose(c, c2, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(reference_map.pair_features(t, c, want.shape[1]), _native.pair_features(t, c, want.shape[1]), rtol=1e-6)
    wt = np.ones(want.shape[1], np.float32); lay = reference_map.assign_layers(x, w)
    l1 = reference_map.walk(len(x), want, t, c, wt, lay, 1.0, 3); l2 = _native.walk(len(x), want, t, c, wt, lay, 1.0, 3)
    print(l1.max())
    np.testing.assert_array_equal(l1, l2)
