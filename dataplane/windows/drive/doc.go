// Package drive knows the physical drives of a Windows machine and the volumes that lie on them: which there are, how large
// they are, what names them, which one the firmware starts from, and where on a drive each volume lies.
//
// What the system answers are structures of fixed layout, read here by pure functions. The calls themselves stand behind
// [System] and [Handle]: every function works on any system that is given to it, and the one of Windows is behind [Local].
//
// Drives and volumes are opened for reading only and nothing here can change them.
package drive
