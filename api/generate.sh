#!/usr/bin/env bash
# Generates api/gen from api/proto. Needs protoc (Debian: protobuf-compiler); the plugins come from go.mod's tools.
set -euo pipefail
cd "$(dirname "$0")"
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
GOBIN=$plugins go install google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
rm -rf gen && mkdir gen
PATH=$plugins:$PATH protoc --proto_path=proto \
  --go_out=gen --go_opt=module=farshore/api/gen \
  --connect-go_out=gen --connect-go_opt=module=farshore/api/gen \
  proto/farshore/v1/*.proto
