"""JSON documents over A2A, versions 1.0 and 0.3: one object goes there, one comes back.

documents  JSON as it must be: one object, finite numbers, no key twice
cards      how a server introduces itself
owners     who may see a task again
server     a function as an A2A server
client     asks an A2A server
"""
