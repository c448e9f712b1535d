"""JSON documents over A2A, versions 1.0 and 0.3: a request and its answer are one JSON object each.

documents  validated JSON: one object, finite numbers, no duplicate keys
server     serves a function over A2A; its card, and the owner of each task
client     sends one document, or requests assessments from a host
"""
