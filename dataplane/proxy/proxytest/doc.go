// Package proxytest is a small HTTP proxy with basic authentication, for tests.
package proxytest
