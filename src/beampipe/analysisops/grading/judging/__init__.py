"""A judge of words: what it is asked cannot be rewritten by whom it judges, and what it says moves no score of rules.

screening   what in a submission is hidden, or talks to the judge
question    the prompt: submission behind a fence, with a canary
judge       what a judge is
panel       several samples of one judge, their median and agreement
offline     a judge without a language model
endpoint    a judge behind OpenAI's protocol
"""
