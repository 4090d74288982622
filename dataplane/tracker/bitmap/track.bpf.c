//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Marks the blocks of tracked disks that writes and discards have changed, when their requests complete.
//
// Completions can be lost: BPF programs are skipped on some kernels while certain threads are current. So requests are
// also entered in a table when they are issued, and an entry leaves it only after its own range has been marked. User
// space copies what is left in the table at every cut, and compares the sectors counted here with the kernel's own.
//
// One small program for each job: the verifier of 6.18 refuses them joined. Callbacks of bpf_loop carry no state that the
// verifier can know at their first call: kernels before 6.8 verify a callback once and delete what is dead at that call.
//
// With BYTES defined it becomes the object for kernels without bpf_loop (before 5.17) and without an atomic or (before
// 5.12): a byte for each block instead of a bit, set by a plain store, and a table of ranges for what a bounded loop cannot
// mark. Both are compiled against the layouts of whichever kernel loads them.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define relocated __attribute__((preserve_access_index))
struct gendisk { int major; int first_minor; } relocated;
struct request_queue { struct gendisk *disk; } relocated;
struct bvec_iter { __u64 bi_sector; unsigned int bi_size; } relocated;
struct bio { struct bio *bi_next; struct bvec_iter bi_iter; } relocated;
struct request___old { struct gendisk *rq_disk; } relocated; // before 5.17
struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	__u64 __sector;
	struct bio *bio;
} relocated;

// Operations (linux/blk_types.h). From 32 on they belong to drivers (SG_IO, NVMe ioctl); odd ones write.
enum { OP_WRITE = 1, OP_DISCARD = 3, OP_SECURE_ERASE = 5, OP_ZONE_APPEND = 7, OP_WRITE_ZEROES = 9, OP_DRIVER = 32 };
#define OP_MASK 0xff
#define MAX_DISKS 256
#define MAX_RANGES 256 // of one discard: what NVMe allows
#define MAX_STORES 32  // blocks that a bounded loop marks (BYTES)

// A tracked disk. Only the first four fields matter here; the rest is user space's, kept with the maps.
struct tracked {
	__u64 base;   // its first word of dirty
	__u64 blocks;
	__u32 shift;  // sectors to blocks
	__u32 index;  // its line of counters
	__u64 sectors;
	__u64 written, discarded; // what the kernel had counted when ours stood at zero
	__u8 era[16];
	__u8 sequence[48];
	__u8 id[64];
};

struct counters {
	__u64 written, discarded;               // sectors of completions seen
	__u64 healed_written, healed_discarded; // sectors of completions not seen, marked from the table
	__u64 passthrough; // writes of unknown place
	__u64 unplaced;    // discards of several ranges whose completion was not seen
	__u64 outside;     // completions behind the end of the disk
	__u64 crowded;     // requests that found the table full
	__u64 spilled;     // ranges that found the table of ranges full: every block may have changed
};

struct flight {
	__u64 sector;
	__u64 stamp; // when it was issued: two requests at one address differ by it
	__u32 bytes, done;
	__u32 index;
	__u8 op;
	__u8 several;  // a discard of several ranges
	__u8 requeued; // it will be issued again
	__u8 unused;
};

struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct tracked); __uint(max_entries, MAX_DISKS); } disks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1); } dirty SEC(".maps");
#ifdef BYTES
// Blocks that changed, first and last. Whoever takes one reads the blocks after it is deleted.
struct changed { __u64 first, last; __u32 index, unused; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct changed); __type(value, __u8); __uint(max_entries, 16384); } ranges SEC(".maps");
#endif
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct counters); __uint(max_entries, MAX_DISKS); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u64); __type(value, struct flight); __uint(max_entries, 16384); } flights SEC(".maps");

static __always_inline void add(__u64 *counter, __u64 n)
{
	__sync_fetch_and_add(counter, n);
}

static __always_inline struct tracked *disk_of(struct request *rq)
{
	struct request___old *old = (void *)rq;
	struct gendisk *disk = bpf_core_field_exists(old->rq_disk) ? old->rq_disk : rq->q->disk;
	if (!disk)
		return 0;
	__u32 dev = ((__u32)disk->major << 20) | (__u32)disk->first_minor;
	return bpf_map_lookup_elem(&disks, &dev);
}

static __always_inline struct counters *counters_of(struct tracked *d)
{
	__u32 index = d->index;
	return bpf_map_lookup_elem(&counts, &index);
}

static __always_inline int modifies(__u64 op)
{
	return op == OP_WRITE || op == OP_DISCARD || op == OP_SECURE_ERASE || op == OP_ZONE_APPEND || op == OP_WRITE_ZEROES;
}

#ifdef BYTES
static __always_inline void mark_range(struct tracked *d, struct counters *c, __u64 first, __u64 last)
{
	struct changed r = { .first = first, .last = last, .index = d->index };
	__u8 one = 1;
	if (bpf_map_update_elem(&ranges, &r, &one, BPF_ANY))
		add(&c->spilled, 1);
}

static __always_inline void mark(struct tracked *d, struct counters *c, __u64 sector, __u64 bytes)
{
	if (!bytes)
		return;
	__u64 first = sector >> d->shift, last = (sector + ((bytes + 511) >> 9) - 1) >> d->shift;
	if (first >= d->blocks)
		return;
	if (last >= d->blocks)
		last = d->blocks - 1;
	if (last - first >= MAX_STORES) {
		mark_range(d, c, first, last);
		return;
	}
	for (__u32 i = 0; i < MAX_STORES; i++) {
		__u64 block = first + i;
		if (block > last)
			break;
		__u32 key = (__u32)(d->base + (block >> 3));
		__u8 *word = bpf_map_lookup_elem(&dirty, &key);
		if (word)
			*(volatile __u8 *)(word + (block & 7)) = 1;
	}
}
#else
struct range { __u64 base, word, last, first_mask, last_mask; };

static __always_inline void set_word(__u64 word, __u64 mask)
{
	__u32 key = (__u32)word;
	__u64 *p = bpf_map_lookup_elem(&dirty, &key);
	if (p)
		__sync_fetch_and_or(p, mask);
}

static long mark_word(__u32 i, void *context)
{
	struct range *r = context;
	__u64 word = r->word + i, mask = ~0ULL;
	if (word > r->last)
		return 1;
	if (i == 0)
		mask &= r->first_mask;
	if (word == r->last)
		mask &= r->last_mask;
	set_word(r->base + word, mask);
	return 0;
}

// span finds the words and masks of a range; it is false when there is nothing to mark.
static __always_inline int span(struct tracked *d, __u64 sector, __u64 bytes, struct range *r)
{
	if (!bytes)
		return 0;
	__u64 first = sector >> d->shift, last = (sector + ((bytes + 511) >> 9) - 1) >> d->shift;
	if (first >= d->blocks)
		return 0;
	if (last >= d->blocks)
		last = d->blocks - 1;
	r->base = d->base;
	r->word = first >> 6;
	r->last = last >> 6;
	r->first_mask = ~0ULL << (first & 63);
	r->last_mask = ~0ULL >> (63 - (last & 63));
	return 1;
}

static __always_inline void mark(struct tracked *d, struct counters *c, __u64 sector, __u64 bytes)
{
	struct range r = {};
	if (!span(d, sector, bytes, &r))
		return;
	if (r.word == r.last) {
		set_word(r.base + r.word, r.first_mask & r.last_mask);
		return;
	}
	bpf_loop((__u32)(r.last - r.word + 1), mark_word, &r, 0);
}
#endif

static __always_inline void count_done(struct counters *c, __u64 op, __u64 bytes)
{
	add(op == OP_DISCARD ? &c->discarded : &c->written, bytes >> 9);
}

static __always_inline void count_healed(struct counters *c, struct flight *f)
{
	add(f->op == OP_DISCARD ? &c->healed_discarded : &c->healed_written, (f->bytes - f->done) >> 9);
	if (f->several)
		add(&c->unplaced, 1);
}

static __always_inline int issue(struct request *rq)
{
	struct tracked *d = disk_of(rq);
	if (!d)
		return 0;
	struct counters *c = counters_of(d);
	if (!c)
		return 0;
	__u64 op = rq->cmd_flags & OP_MASK;
	if (op >= OP_DRIVER) {
		if (op & 1)
			add(&c->passthrough, 1);
		return 0;
	}
	if (!modifies(op))
		return 0;
	struct flight f = {
		.sector = rq->__sector, .bytes = rq->__data_len, .op = op, .index = d->index, .stamp = bpf_ktime_get_ns(),
		.several = op == OP_DISCARD && rq->bio && rq->bio->bi_next,
	};
	__u64 key = (__u64)rq;
	if (!bpf_map_update_elem(&flights, &key, &f, BPF_NOEXIST)) // nearly always: one walk of the table in place of two
		return 0;
	struct flight *old = bpf_map_lookup_elem(&flights, &key);
	if (old && old->index == d->index) {
		// The end of the request that was here before has not been seen, unless this is the same one once more.
		mark(d, c, old->sector, old->bytes);
		if (!old->requeued || old->sector + (old->done >> 9) != f.sector)
			count_healed(c, old);
	}
	if (bpf_map_update_elem(&flights, &key, &f, BPF_ANY))
		add(&c->crowded, 1);
	return 0;
}

// Before 5.11, or in a distribution's kernel until it took the change back, the queue comes first.
SEC("tp_btf/block_rq_issue")
int on_issue(__u64 *ctx) { return issue((void *)ctx[0]); }

SEC("tp_btf/block_rq_issue")
int on_issue_q(__u64 *ctx) { return issue((void *)ctx[1]); }

static __always_inline int requeue(struct request *rq)
{
	if (!disk_of(rq))
		return 0;
	__u64 key = (__u64)rq;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	if (f)
		f->requeued = 1;
	return 0;
}

SEC("tp_btf/block_rq_requeue")
int on_requeue(__u64 *ctx) { return requeue((void *)ctx[0]); }

SEC("tp_btf/block_rq_requeue")
int on_requeue_q(__u64 *ctx) { return requeue((void *)ctx[1]); }

// Attached behind on_discard: when an entry leaves the table, everything that it stands for has been marked.
SEC("tp_btf/block_rq_complete")
int on_complete(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	__u32 bytes = (__u32)ctx[2];
	struct tracked *d = disk_of(rq);
	if (!d)
		return 0;
	__u64 op = rq->cmd_flags & OP_MASK;
	struct counters *c = counters_of(d);
	if (!modifies(op) || !c)
		return 0;
	__u64 sector = rq->__sector;
	__u32 left = rq->__data_len;
	if (bytes && (sector >> d->shift) >= d->blocks)
		add(&c->outside, 1);
	if (op != OP_DISCARD)
		mark(d, c, sector, bytes);
	count_done(c, op, bytes);

	__u64 key = (__u64)rq;
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	if (!f || f->index != d->index)
		return 0;
	int same = f->sector + (f->done >> 9) == sector;
	if (same)
		f->done += bytes;
	if (bytes < left)
		return 0; // a part; the rest completes later
	// A request that flushes completes twice: with its data, then with nothing. When the first was lost, the second finds
	// an entry that still holds the data's range.
	if (f->done < f->bytes) {
		mark(d, c, f->sector, f->bytes);
		count_healed(c, f);
	}
	bpf_map_delete_elem(&flights, &key);
	return 0;
}

// A discard request can hold several ranges: only its bios know them.
SEC("tp_btf/block_rq_complete")
int on_discard(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	if ((rq->cmd_flags & OP_MASK) != OP_DISCARD)
		return 0;
	struct tracked *d = disk_of(rq);
	if (!d)
		return 0;
	struct counters *c = counters_of(d);
	if (!c)
		return 0;
	struct bio *bio = BPF_CORE_READ(rq, bio);
#ifdef BYTES
	// No branch but the end of the chain keeps the number of the verifier's states linear. A range behind the end of the disk
	// is cut to it by whoever reads the table.
	__u8 one = 1;
	long failed = 0;
	for (int i = 0; i < MAX_RANGES && bio; i++) {
		__u64 sector = BPF_CORE_READ(bio, bi_iter.bi_sector);
		__u64 sectors = BPF_CORE_READ(bio, bi_iter.bi_size) >> 9;
		struct changed r = { .first = sector >> d->shift, .last = (sector + sectors - 1) >> d->shift, .index = d->index };
		failed |= bpf_map_update_elem(&ranges, &r, &one, BPF_ANY);
		bio = BPF_CORE_READ(bio, bi_next);
	}
	if (failed)
		add(&c->spilled, 1);
#else
	for (int i = 0; i < MAX_RANGES && bio; i++) {
		struct range r = {};
		if (span(d, BPF_CORE_READ(bio, bi_iter.bi_sector), BPF_CORE_READ(bio, bi_iter.bi_size), &r))
			bpf_loop((__u32)(r.last - r.word + 1), mark_word, &r, 0);
		bio = BPF_CORE_READ(bio, bi_next);
	}
#endif
	if (bio)
		add(&c->unplaced, 1);
	return 0;
}
