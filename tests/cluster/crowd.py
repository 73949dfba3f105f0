"""crowd.py FROM TO PORT COUNT: so many connections that never prove who they are.

A third says nothing, a third sends a byte now and then, a third sends garbage and stays. Those
that are hung up on come again, until this is killed.
"""
import os
import select
import socket
import sys
import time

source, target, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
crowd = {}
opened = 0


def come(kind):
    global opened
    client = socket.socket()
    client.setblocking(False)
    client.bind((source, 0))
    client.connect_ex((target, port))
    crowd[client] = kind
    opened += 1


def speak(client, kind):
    if kind == 1:
        client.send(b"\0")
    elif kind == 2:
        client.send(b"\0\x60" + os.urandom(96))
        crowd[client] = 0


for number in range(count):
    come(number % 3)
told = False
while True:
    # Some hundred a second come again.
    for client in select.select(crowd, [], [], 0.05)[0][:8]:
        try:
            gone = not client.recv(4096)
        except OSError:
            gone = True
        if gone:
            kind = crowd.pop(client)
            client.close()
            come(kind if kind else opened % 3)
    for client, kind in list(crowd.items()):
        try:
            speak(client, kind)
        except OSError:
            pass
    if opened > 1.5 * count and not told:
        print("come again", flush=True)
        told = True
    time.sleep(0.02)
