// Package guesttest gives tests the bootable image of package guest. Tests import it, nothing else does.
package guesttest
