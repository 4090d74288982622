// Package service makes the mobility agent a Windows service: it is installed and removed through [Manager], it lives as the
// state machine in [Serve], and its facts go to the event log through [NewLog].
//
// Install and Uninstall can be repeated: the first brings an older installation up to date, the second is content with what
// is gone. A service that ends by itself is started again by Windows after growing pauses, whether it crashed or said why.
package service
