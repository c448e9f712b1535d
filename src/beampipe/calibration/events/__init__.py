"""Events and histograms: selection of dijet events, tagger scores, variations of jets, exact histograms."""
