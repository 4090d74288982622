// Package file keeps a vault in a folder: for servers without a cloud, for laboratories, and for every test that kills
// processes, because what it acknowledges is on stable storage.
//
// An object is a file of its own name below the folder. It is written under .tmp, synced, given its name by link(2),
// which fails if the name is taken, and its folder is synced: then it is acknowledged. A replica disk is a sparse file;
// what belongs to it (writer's token, state, snapshots) lies in .disks under the same name. Snapshots and clones share
// blocks where the file system can (btrfs, xfs); elsewhere they copy what is allocated.
//
// Writers of a disk are told apart by a token: each write takes a shared lock, compares the token, writes, and releases.
// Fencing stores a greater token and waits until no write of an earlier writer holds the lock. The kernel releases the
// locks of a process that dies.
//
// The folder must lie on one file system that knows hard links and flock; other machines may share it over NFS 4.
package file
