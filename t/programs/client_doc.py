# simple-websocket's documentation, "Client Example #1: Synchronous", with its port from the command line.
import sys

from simple_websocket import Client, ConnectionClosed


def main():
    ws = Client.connect(f'ws://localhost:{sys.argv[1]}/echo')
    try:
        while True:
            data = input('> ')
            ws.send(data)
            data = ws.receive()
            print(f'< {data}')
    except (KeyboardInterrupt, EOFError, ConnectionClosed):
        ws.close()

if __name__ == '__main__':
    main()
