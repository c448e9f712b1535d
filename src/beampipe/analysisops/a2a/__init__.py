"""JSON documents over A2A, versions 1.0 and 0.3: one object goes out, one comes back.

documents  checked JSON: one object, finite numbers, no key twice
server     a function as an A2A server, its card, and who may see a task again
client     sends one document, or requests assessments from a host
"""
