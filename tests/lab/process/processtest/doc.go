// Package processtest gives tests what they need to start programs and to listen.
package processtest
