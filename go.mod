module github.com/watchward/watchward

go 1.26.8

require (
	filippo.io/age v1.3.1 // passphrases on key files: a small, reviewed format with scrypt
	filippo.io/edwards25519 v1.2.0 // refuses non-canonical and low-order keys, which crypto/ed25519 takes
	github.com/anishathalye/porcupine v1.3.1 // tests: are the ledger's histories linearizable
	github.com/cloudflare/circl v1.6.5 // ML-DSA-65 and X-Wing
	github.com/danielgtaylor/huma/v2 v2.37.2 // OpenAPI from the handlers themselves
	github.com/dgraph-io/badger/v4 v4.9.6 // the store: an LSM tree with a value log, pure Go; ≥ 4.9.4 for badger#2310
	github.com/fxamacker/cbor/v2 v2.10.0 // deterministic CBOR with limits
	github.com/gaissmai/bart v0.30.0 // tries of networks for never-block and warninglists: on net/netip, with values, tagged releases, no dependency of its own; netipx has no releases and no values
	github.com/google/uuid v1.6.0 // RFC 9562 UUIDs of version 5: other tools know our objects again
	github.com/hashicorp/go-hclog v1.6.3 // raft's logger, which is slog underneath
	github.com/hashicorp/go-msgpack/v2 v2.1.5 // tests: what memberlist has on the wire, by its own encoder
	github.com/hashicorp/golang-lru/v2 v2.0.7 // bounded caches: parsed keys, tiles of the ledger
	github.com/hashicorp/memberlist v0.6.0 // SWIM; not 0.7.0, whose go-metrics lacks the compat package that raft-wal imports
	github.com/hashicorp/raft v1.7.3 // the ledger's order; not 1.8.0, whose go-metrics raft-wal cannot use
	github.com/hashicorp/raft-autopilot v0.3.0 // judges when a new voter has caught up
	github.com/hashicorp/raft-wal v0.4.2 // raft's log: half the fsyncs of BoltDB's; `@latest` says 0.4.0
	github.com/libp2p/go-libp2p v0.51.0 // QUIC, TCP and WebSocket under one identity
	github.com/libp2p/go-libp2p-pubsub v0.19.0 // GossipSub
	github.com/marcopolo/simnet v0.0.7 // tests: a network with bandwidth and latency in virtual time, under real QUIC
	github.com/miekg/dns v1.1.72 // zone transfers of policy zones: SOA, AXFR, IXFR, NOTIFY, TSIG
	github.com/multiformats/go-multiaddr v0.16.1 // libp2p's addresses
	github.com/multiformats/go-multistream v0.6.1 // names the protocol of a stream on one certain connection
	github.com/pelletier/go-toml/v2 v2.4.3 // strict TOML with places in its errors
	github.com/prometheus/client_golang v1.25.0 // metrics
	github.com/quic-go/quic-go v0.64.1 // pinned: 0.65 breaks webtransport-go, which libp2p needs; its session keys are asserted in a test
	github.com/rogpeppe/go-internal v1.16.0 // tests: testscript
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // tests: the OASIS schemas of STIX
	github.com/sethvargo/go-diceware v0.6.0 // the EFF's large word list, for comparing keys by phone
	github.com/spf13/cobra v1.10.2 // commands, help and completion
	go.etcd.io/bbolt v1.3.6 // in which raft-wal keeps term and vote: read whole before it is trusted
	go.uber.org/fx v1.24.0 // tests: the option type by which libp2p takes a QUIC connection manager on a simulated network
	go.uber.org/goleak v1.3.0 // tests: no goroutine is left behind
	golang.org/x/mod v0.42.0 // Merkle tree hashes and proofs (sumdb/tlog)
	golang.org/x/net v0.62.0 // IDNA, public suffixes, HTML
	golang.org/x/perf v0.0.0-20260908200009-22c9c6c9d4da // testnet: the format of Go benchmarks
	golang.org/x/sync v0.24.0 // errgroup
	golang.org/x/sys v0.49.0 // free disk space; files that may be renamed while open, on Windows
	golang.org/x/term v0.47.0 // is it a terminal; passphrases
	golang.org/x/text v0.43.0 // character encodings and normalisation
	golang.org/x/time v0.15.0 // rate limits
	google.golang.org/protobuf v1.36.12 // Badger's list of tables, to mend it after a failed write
	pgregory.net/rapid v1.3.0 // tests: properties with replayable seeds
	rsc.io/qr v0.2.0 // QR codes of invitations; no dependency of its own
)

require (
	filippo.io/bigmod v0.1.1-0.20260103110540-f8a47775ebe5 // indirect
	filippo.io/hpke v0.4.0 // indirect
	filippo.io/keygen v1.0.0 // indirect
	github.com/aclements/go-moremath v0.0.0-20210112150236-f10218a38794 // indirect
	github.com/armon/go-metrics v0.4.1 // indirect
	github.com/benbjohnson/clock v1.3.5 // indirect
	github.com/benbjohnson/immutable v0.4.0 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coreos/etcd v3.3.27+incompatible // indirect
	github.com/coreos/go-systemd v0.0.0-20191104093116-d3cd4ed1dbcf // indirect
	github.com/coreos/pkg v0.0.0-20220810130054-c7d1c02cb6cf // indirect
	github.com/davidlazar/go-crypto v0.0.0-20200604182044-b73af7476f6c // indirect
	github.com/decred/dcrd/dcrec/secp256k1/v4 v4.4.1 // indirect
	github.com/dgraph-io/ristretto/v2 v2.2.0 // indirect
	github.com/dunglas/httpsfv v1.1.1 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/fatih/color v1.13.0 // indirect
	github.com/filecoin-project/go-clock v0.1.0 // indirect
	github.com/flynn/noise v1.1.0 // indirect
	github.com/go-logr/logr v1.4.3 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/google/btree v1.1.3 // indirect
	github.com/google/flatbuffers v25.2.10+incompatible // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-immutable-radix v1.3.1 // indirect
	github.com/hashicorp/go-metrics v0.6.0 // indirect
	github.com/hashicorp/go-multierror v1.1.1 // indirect
	github.com/hashicorp/go-sockaddr v1.0.7 // indirect
	github.com/hashicorp/golang-lru v0.5.4 // indirect
	github.com/huin/goupnp v1.3.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/ipfs/go-cid v0.6.2 // indirect
	github.com/jackpal/go-nat-pmp v1.0.2 // indirect
	github.com/jbenet/go-temp-err-catcher v0.1.0 // indirect
	github.com/klauspost/compress v1.20.1 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/koron/go-ssdp v0.9.1 // indirect
	github.com/libp2p/go-buffer-pool v0.1.0 // indirect
	github.com/libp2p/go-flow-metrics v0.3.0 // indirect
	github.com/libp2p/go-libp2p-asn-util v0.4.1 // indirect
	github.com/libp2p/go-msgio v0.3.0 // indirect
	github.com/libp2p/go-netroute v0.4.0 // indirect
	github.com/libp2p/go-reuseport v0.4.0 // indirect
	github.com/libp2p/go-yamux/v5 v5.1.0 // indirect
	github.com/marten-seemann/tcp v0.0.0-20210406111302-dfbc87cc63fd // indirect
	github.com/mattn/go-colorable v0.1.14 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/mikioh/tcpinfo v0.0.0-20190314235526-30a79bb1804b // indirect
	github.com/mikioh/tcpopt v0.0.0-20190314235656-172688c1accc // indirect
	github.com/minio/sha256-simd v1.0.1 // indirect
	github.com/mr-tron/base58 v1.3.0 // indirect
	github.com/multiformats/go-base32 v0.1.0 // indirect
	github.com/multiformats/go-base36 v0.2.0 // indirect
	github.com/multiformats/go-multiaddr-dns v0.6.0 // indirect
	github.com/multiformats/go-multiaddr-fmt v0.1.0 // indirect
	github.com/multiformats/go-multibase v0.3.0 // indirect
	github.com/multiformats/go-multicodec v0.10.0 // indirect
	github.com/multiformats/go-multihash v0.2.3 // indirect
	github.com/multiformats/go-varint v0.1.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pbnjay/memory v0.0.0-20210728143218-7b4eea64cf58 // indirect
	github.com/pion/datachannel v1.5.10 // indirect
	github.com/pion/dtls/v3 v3.1.2 // indirect
	github.com/pion/ice/v4 v4.0.10 // indirect
	github.com/pion/interceptor v0.1.40 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/mdns/v2 v2.0.7 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/rtcp v1.2.16 // indirect
	github.com/pion/rtp v1.8.19 // indirect
	github.com/pion/sctp v1.8.39 // indirect
	github.com/pion/sdp/v3 v3.0.18 // indirect
	github.com/pion/srtp/v3 v3.0.6 // indirect
	github.com/pion/stun/v3 v3.1.1 // indirect
	github.com/pion/transport/v3 v3.0.7 // indirect
	github.com/pion/transport/v4 v4.0.1 // indirect
	github.com/pion/turn/v4 v4.0.2 // indirect
	github.com/pion/webrtc/v4 v4.1.2 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/quic-go/webtransport-go v0.13.0 // indirect
	github.com/sean-/seed v0.0.0-20170313163322-e2103e2c3529 // indirect
	github.com/segmentio/fasthash v1.0.3 // indirect
	github.com/spaolacci/murmur3 v1.1.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/stretchr/objx v0.5.3 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/wlynxg/anet v0.0.5 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel v1.41.0 // indirect
	go.opentelemetry.io/otel/metric v1.41.0 // indirect
	go.opentelemetry.io/otel/trace v1.41.0 // indirect
	go.uber.org/dig v1.19.0 // indirect
	go.uber.org/mock v0.6.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp v0.0.0-20260824195058-e88cd73687aa // indirect
	golang.org/x/telemetry v0.0.0-20260924152758-ed294f943157 // indirect
	golang.org/x/tools v0.51.0 // indirect
	lukechampine.com/blake3 v1.4.1 // indirect
)
