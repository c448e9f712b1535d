"""Tasks that are composed by seed: question, background, detector and faults are drawn, and no recipe solves them.

grammar     the ingredients, and the draw of a composition
pairs       events with two objects of a given mass
likelihood  expectations of all counts: what the data can tell at best, and what they say of the answer
generate    data, truth, smallest achievable uncertainty, and the shift that each fault causes if it is missed
texts       prompts of three levels, from templates

A grade needs no reference analysis: the likelihood of the generator, which knows all shapes, gives the answer that an
efficient analysis of these events finds, and its uncertainty. A draw that no analysis could solve is refused.
"""
