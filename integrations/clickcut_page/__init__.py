"""A page in the browser to select objects in; it talks to the engine through a relay.

`clickcut page` serves it. The browser has no bidirectional gRPC, so one WebSocket carries one
`Session` stream: a binary frame is a `SessionRequest` or a `SessionReply` of the wire contract, and
a last text frame says how the stream ended. Images, exports and repairs are plain HTTP.
"""
