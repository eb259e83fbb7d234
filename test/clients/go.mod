module kith/test/clients

go 1.26.0

require (
	github.com/centrifugal/centrifuge-go v0.10.10
	github.com/gorilla/websocket v1.5.0
	google.golang.org/protobuf v1.36.12
	kith v0.0.0
)

require (
	github.com/centrifugal/protocol v0.19.2 // indirect
	github.com/josharian/intern v1.0.0 // indirect
	github.com/jpillora/backoff v1.0.0 // indirect
	github.com/mailru/easyjson v0.9.0 // indirect
	github.com/planetscale/vtprotobuf v0.6.1-0.20240319094008-0393e58bdf10 // indirect
	github.com/segmentio/asm v1.2.0 // indirect
	github.com/segmentio/encoding v0.5.3 // indirect
	github.com/shadowspore/fossil-delta v0.0.0-20241213113458-1d797d70cbe3 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace kith => ../..
