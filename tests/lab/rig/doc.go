// Package rig is what end-to-end and crash tests stand on: a raw disk behind a loop device, the blockwriter on it, and all of
// Farshore protecting it. A point is checked by restoring it with farshore-restore and comparing every byte with what the
// writer's log says.
package rig
