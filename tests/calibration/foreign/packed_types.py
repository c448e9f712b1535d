"""Write `packed_types.root`, by ROOT itself: ``python packed_types.py`` where ``import ROOT`` works (tried: 6.40).

Dijet events with branches of packed numbers, and with a friend tree that the file `friend.root` would have.
"""

# mypy: ignore-errors

import array
import random

import ROOT

random.seed(1)
file = ROOT.TFile("packed_types.root", "RECREATE")
file.SetCompressionSettings(ROOT.RCompressionSetting.EDefaults.kUseSmallest)
tree = ROOT.TTree("events", "")
leaves = {
    "run": ("I", "run/I"),
    "event": ("I", "event/I"),
    "weight": ("f", "weight/F"),
    "n": ("I", "n/I"),
    "jet_pt": ("f", "jet_pt[n]/F"),
    "jet_eta": ("f", "jet_eta[n]/F"),
    "jet_n_trk": ("I", "jet_n_trk[n]/I"),
    "jet_label": ("I", "jet_label[n]/I"),
    "score": ("f", "score[n]/F"),
    "score_double32": ("d", "score_double32[n]/d"),
    "score_double32_range": ("d", "score_double32_range[n]/d[-5,5,20]"),
    "score_fixed_range": ("d", "score_fixed_range[2]/d[-5,5,20]"),
    "score_float16": ("f", "score_float16[n]/f"),
    "x_double32_range": ("d", "x_double32_range/d[-5,5,20]"),
    "x_float16": ("f", "x_float16/f"),
}
values = {name: array.array(kind, [0] * 2) for name, (kind, _) in leaves.items()}
for name, (_, leaf) in leaves.items():
    tree.Branch(name, values[name], leaf)
for event in range(200):
    values["run"][0], values["event"][0], values["weight"][0], values["n"][0] = 1, event, 1.0, 2
    for jet in range(2):
        values["jet_pt"][jet] = random.uniform(600, 620) - 10 * jet
        values["jet_eta"][jet] = random.uniform(-2, 2)
        values["jet_n_trk"][jet] = random.randint(5, 30)
        values["jet_label"][jet] = random.choice((1, 2, 21))
        score = random.gauss(0, 1)
        for name in leaves:
            if name.startswith("score"):
                values[name][jet] = score
    values["x_double32_range"][0] = values["x_float16"][0] = score
    tree.Fill()
tree.AddFriend("scores", "friend.root")
tree.Write()
file.Close()
