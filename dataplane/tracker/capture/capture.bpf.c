//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Records writes of captured disks in the order of their submission: when a bio is queued its pages are copied into a ring,
// in pieces of 4 KiB. Two writes of which the second was submitted behind the end of the first stand in the ring in that
// order, so every prefix of whole bios is what a power cut could have left.
//
// Beside it stands a table of pending sectors: those of bios that were queued and have not completed, by chunks of 64 KiB.
// Sectors are conserved when bios are split and merged, so neither bio nor request has to be recognised.
//
// One small program for each job. Callbacks of bpf_loop carry no state that the verifier can know at their first call, for
// kernels before 6.8 verify a callback once and delete what is dead at that call: everything in their contexts comes from
// memory or a clock, and whatever can be computed from the index is.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define relocated __attribute__((preserve_access_index))
struct page { unsigned long flags; } relocated;
struct folio;
struct gendisk { int major; int first_minor; } relocated;
struct block_device { __u32 bd_dev; struct gendisk *bd_disk; } relocated;
struct request_queue { struct gendisk *disk; } relocated;
struct bio_vec { struct page *bv_page; unsigned int bv_len; unsigned int bv_offset; } relocated;
struct bvec_iter { __u64 bi_sector; unsigned int bi_size; unsigned int bi_idx; unsigned int bi_bvec_done; } relocated;
struct bio {
	struct block_device *bi_bdev;
	unsigned int bi_opf;
	unsigned short bi_flags;
	unsigned char bi_status;
	struct bvec_iter bi_iter;
	struct bio_vec *bi_io_vec;
} relocated;
struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	__u64 __sector;
	__u64 start_time_ns;
} relocated;
struct buffer_head___page { struct page *b_page; } relocated;
struct buffer_head { struct folio *b_folio; char *b_data; struct block_device *b_bdev; } relocated;

// Operations (linux/blk_types.h): odd ones write. From 32 on they belong to drivers (SG_IO, NVMe ioctl).
enum { OP_WRITE = 1, OP_DISCARD = 3, OP_SECURE_ERASE = 5, OP_WRITE_ZEROES = 9, OP_DRIVER = 32, OP_FAILED = 255 };
#define OP_MASK 0xff
#define MAX_DISKS 256
#define PIECE 4096
#define PAGE 4096
#define CHUNK_SHIFT 7 // sectors to chunks of 64 KiB
#define MAX_CHUNKS (1 << 20)
#define MAX_PIECES (1 << 21)
#define TRIES 8
#define NEVER (~0ULL)
enum { OWN = 1 };

// A captured disk.
struct captured {
	__u32 base;   // its first bucket of pending
	__u32 mask;   // how many buckets it has, less one
	__u32 ranges; // its bucket for what is not data: discards, zeroing
	__u32 index;
	__u64 begun;  // monotonic clock: requests begun earlier may hold bios queued before the disk was entered
};

// What is common to all disks. The first part is written by user space.
struct state {
	__u64 recording;
	__u64 base;      // the address of a page's bytes is base + 4096 for each struct page before it
	__u64 own;       // process whose writes that begin with the cookie are recorded without data
	__u64 cookie[2];
	__u64 traced;    // the flag of bios that will not be seen being queued again, or 0
	__u64 scratch;   // device number of the device that base is calibrated on

	__u64 lost;       // writes that could not be recorded
	__u64 first_loss; // position of the ring at the first loss since user space wrote 0 here
	__u64 last_loss;
	__u64 unrecorded; // boot clock of the last write that was not recorded
	__u64 faults;     // pages that could not be read (part of lost)
	__u64 remapped;   // writes redirected onto a captured disk behind the tracepoint (part of lost)
	__u64 early;      // requests begun before their disk was entered (part of lost)
	__u64 calls;      // of calibrate
	__u64 caller;     // the process that calibrate saw
};

// What was queued for a disk and has not ended without a request, in sectors: the kernel counts the same when it ends.
struct entered { __u64 written, discarded; };

struct bucket {
	__s64 sectors; // queued and not completed
	__u64 birth;   // boot clock, not later than the first of them
};

struct flight { __u64 sector; __u32 bytes; __u16 index; __u8 op, unused; };

// A piece of a write, or a whole operation without data. All pieces of a bio bear its heading.
struct piece {
	__u64 bio;    // names the bio while it is queued
	__u64 sector; // of the bio
	__u64 begun;  // boot clock before the bio was entered as pending
	__u64 stamp;  // boot clock after that
	__u64 since;  // birth of the oldest pending bucket that held another write, or NEVER
	__u32 size;   // of the bio in bytes
	__u32 at;     // of this piece in the bio, in bytes
	__u32 length; // of this piece's data
	__u16 disk;
	__u8 op;
	__u8 flags;
	__u8 bytes[PIECE];
};
#define HEADING 56

struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct captured); __uint(max_entries, MAX_DISKS); } disks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct state); __uint(max_entries, 1); } common SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct bucket); __uint(max_entries, 1); } pending SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __type(key, __u32); __type(value, struct entered); __uint(max_entries, MAX_DISKS); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u64); __type(value, struct flight); __uint(max_entries, 16384); } flights SEC(".maps");

static __always_inline struct captured *find(struct gendisk *disk)
{
	if (!disk)
		return 0;
	__u32 dev = ((__u32)disk->major << 20) | (__u32)disk->first_minor;
	return bpf_map_lookup_elem(&disks, &dev);
}

static __always_inline struct captured *disk_of_bio(struct bio *bio) { return find(bio->bi_bdev->bd_disk); }
static __always_inline struct captured *disk_of_request(struct request *rq) { return find(rq->q->disk); }

static __always_inline struct state *the_state(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&common, &key);
}

static __always_inline struct bucket *bucket_at(__u32 i) { return bpf_map_lookup_elem(&pending, &i); }

// raise keeps the greatest value.
static __always_inline void raise(__u64 *to, __u64 value)
{
	for (int i = 0; i < TRIES; i++) {
		__u64 old = *(volatile __u64 *)to;
		if (old >= value || __sync_val_compare_and_swap(to, old, value) == old)
			return;
	}
}

static __always_inline void lose(struct state *s)
{
	__u64 position = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
	__sync_val_compare_and_swap(&s->first_loss, 0, position | 1);
	raise(&s->last_loss, position);
	raise(&s->unrecorded, bpf_ktime_get_boot_ns());
	__sync_fetch_and_add(&s->lost, 1); // last: whoever sees it sees the rest
}

// ---- pending sectors

// add enters sectors and gives the birth of what was in the bucket before, or NEVER. The clock was read before the sum is
// changed: no write of the bucket's present filling was entered earlier than its birth. It is stored early too, so that
// nobody meets the birth of a filling long gone; whoever stores it has found the bucket empty behind reading the clock.
static __always_inline __u64 add(__u32 i, __s64 sectors, __u64 now)
{
	struct bucket *b = bucket_at(i);
	if (!b)
		return NEVER;
	if (*(volatile __s64 *)&b->sectors <= 0)
		*(volatile __u64 *)&b->birth = now;
	if (__sync_fetch_and_add(&b->sectors, sectors) > 0)
		return *(volatile __u64 *)&b->birth;
	*(volatile __u64 *)&b->birth = now;
	return NEVER;
}

// remove never goes below zero: what was queued before its disk was entered must not be held against later writes.
static __always_inline void remove(__u32 i, __s64 sectors)
{
	struct bucket *b = bucket_at(i);
	if (!b)
		return;
	for (int try = 0; try < TRIES; try++) {
		__s64 old = *(volatile __s64 *)&b->sectors, left = old > sectors ? old - sectors : 0;
		if (__sync_val_compare_and_swap(&b->sectors, old, left) == old)
			return;
	}
	__sync_fetch_and_sub(&b->sectors, sectors);
}

struct span { __u64 first, end; __u64 base, mask; __u64 now, since; };

// part finds the i-th chunk of a span: its bucket and how many of its sectors belong to the span.
static __always_inline __s64 part(struct span *s, __u32 i, __u32 *bucket)
{
	__u64 chunk = (s->first >> CHUNK_SHIFT) + i, start = chunk << CHUNK_SHIFT, end = start + (1 << CHUNK_SHIFT);
	*bucket = (__u32)(s->base + (chunk & s->mask));
	if (start < s->first)
		start = s->first;
	if (end > s->end)
		end = s->end;
	return (__s64)(end - start);
}

static long add_part(__u32 i, void *context)
{
	struct span *s = context;
	__u32 bucket;
	__s64 sectors = part(s, i, &bucket);
	if (sectors <= 0)
		return 1;
	__u64 birth = add(bucket, sectors, s->now);
	if (birth < s->since)
		s->since = birth;
	return 0;
}

static long remove_part(__u32 i, void *context)
{
	struct span *s = context;
	__u32 bucket;
	__s64 sectors = part(s, i, &bucket);
	if (sectors <= 0)
		return 1;
	remove(bucket, sectors);
	return 0;
}

static __always_inline __u64 birth_of(__u32 i)
{
	struct bucket *b = bucket_at(i);
	if (!b || *(volatile __s64 *)&b->sectors <= 0)
		return NEVER;
	return *(volatile __u64 *)&b->birth;
}

static long look_at_part(__u32 i, void *context)
{
	struct span *s = context;
	__u32 bucket;
	if (part(s, i, &bucket) <= 0 || i > s->mask)
		return 1;
	__u64 birth = birth_of(bucket);
	if (birth < s->since)
		s->since = birth;
	return 0;
}

// enter makes an operation pending and gives the birth of the oldest bucket in which it met another, or NEVER. Everybody
// enters before he looks, so of two that overlap in flight at least one sees the other.
static __always_inline __u64 enter(struct captured *d, __u64 op, __u64 sector, __u64 bytes, __u64 now)
{
	__u64 sectors = (bytes + 511) >> 9, other;
	// NEVER, but the verifier cannot know it.
	struct span s = {.first = sector, .end = sector + sectors, .base = d->base, .mask = d->mask, .now = now, .since = ~(now >> 63)};
	if (op == OP_WRITE) {
		bpf_loop(MAX_CHUNKS, add_part, &s, 0);
		other = birth_of(d->ranges);
	} else {
		other = add(d->ranges, sectors, now);
		bpf_loop(MAX_CHUNKS, look_at_part, &s, 0);
	}
	return other < s.since ? other : s.since;
}

static __always_inline void leave(struct captured *d, __u64 op, __u64 sector, __u64 bytes)
{
	if (!bytes)
		return;
	__u64 sectors = (bytes + 511) >> 9;
	if (op != OP_WRITE) {
		remove(d->ranges, sectors);
		return;
	}
	struct span s = {.first = sector, .end = sector + sectors, .base = d->base, .mask = d->mask};
	bpf_loop(MAX_CHUNKS, remove_part, &s, 0);
}

static __always_inline void count(struct captured *d, __u64 op, __s64 sectors)
{
	__u32 index = d->index;
	struct entered *e = bpf_map_lookup_elem(&counts, &index);
	if (e)
		__sync_fetch_and_add(op == OP_DISCARD ? &e->discarded : &e->written, sectors);
}

// ---- recording

struct walk {
	__u64 bio, sector, begun, stamp, since;
	__u64 vectors, base;
	__u32 size, at, index, done;
	__u32 disk, failed;
};

static __always_inline void head(struct piece *p, struct walk *w)
{
	p->bio = w->bio;
	p->sector = w->sector;
	p->begun = w->begun;
	p->stamp = w->stamp;
	p->since = w->since;
	p->size = w->size;
	p->disk = (__u16)w->disk;
}

static __always_inline __u64 address(struct bio_vec *v, __u64 base)
{
	__u64 page = (__u64)BPF_CORE_READ(v, bv_page);
	return page * (PAGE / bpf_core_type_size(struct page)) + base + BPF_CORE_READ(v, bv_offset);
}

static __always_inline struct bio_vec *vector(__u64 vectors, __u32 i)
{
	return (void *)(vectors + (__u64)i * bpf_core_type_size(struct bio_vec));
}

static long record_piece(__u32 i, void *context)
{
	struct walk *w = context;
	__u32 left = w->size - w->at;
	if (!left)
		return 1;
	struct bio_vec *v = vector(w->vectors, w->index);
	__u32 held = BPF_CORE_READ(v, bv_len), n = held - w->done;
	if (n > left)
		n = left;
	if (n > PIECE)
		n = PIECE;
	asm volatile("%0 &= 8191" : "+r"(n));
	if (n > PIECE || n == 0) {
		w->failed |= 1;
		return 1;
	}
	struct piece *p = bpf_ringbuf_reserve(&ring, sizeof(*p), 0);
	if (!p) {
		w->failed |= 1;
		return 1;
	}
	head(p, w);
	p->at = w->at;
	p->length = n;
	p->op = OP_WRITE;
	p->flags = 0;
	if (bpf_probe_read_kernel(p->bytes, n, (void *)(address(v, w->base) + w->done))) {
		bpf_ringbuf_discard(p, BPF_RB_NO_WAKEUP);
		w->failed |= 2;
		return 1;
	}
	bpf_ringbuf_submit(p, BPF_RB_NO_WAKEUP);
	w->at += n;
	w->done += n;
	if (w->done >= held) {
		w->index++;
		w->done = 0;
	}
	return 0;
}

// record_heading records an operation that has no data, or whose data is not wanted.
static __always_inline int record_heading(struct walk *w, __u64 op, __u8 flags)
{
	struct piece *p = bpf_ringbuf_reserve(&ring, HEADING, 0);
	if (!p)
		return 1;
	head(p, w);
	p->at = 0;
	p->length = 0;
	p->op = (__u8)op;
	p->flags = flags;
	bpf_ringbuf_submit(p, BPF_RB_NO_WAKEUP);
	return 0;
}

static __always_inline int is_own(struct state *s, struct walk *w)
{
	if (!s->own || bpf_get_current_pid_tgid() >> 32 != s->own)
		return 0;
	__u64 start[2] = {};
	if (bpf_probe_read_kernel(start, sizeof(start), (void *)(address(vector(w->vectors, w->index), w->base) + w->done)))
		return 0;
	return start[0] == s->cookie[0] && start[1] == s->cookie[1];
}

static __always_inline void record(struct state *s, struct walk *w, __u64 op)
{
	if (op != OP_WRITE) {
		if ((op != OP_DISCARD && op != OP_SECURE_ERASE && op != OP_WRITE_ZEROES) || record_heading(w, op, 0))
			lose(s);
		return;
	}
	if (is_own(s, w)) {
		if (record_heading(w, op, OWN))
			lose(s);
		return;
	}
	bpf_loop(MAX_PIECES, record_piece, w, 0);
	if (w->failed & 2)
		__sync_fetch_and_add(&s->faults, 1);
	if (w->at < w->size)
		lose(s);
}

SEC("tp_btf/block_bio_queue")
int on_queue(__u64 *ctx)
{
	struct bio *bio = (void *)ctx[0];
	struct captured *d = disk_of_bio(bio);
	struct state *s = the_state();
	if (!d || !s)
		return 0;
	__u64 op = bio->bi_opf & OP_MASK;
	struct walk w = {.bio = (__u64)bio, .size = bio->bi_iter.bi_size};
	if (!(op & 1) || !w.size)
		return 0;
	w.sector = bio->bi_iter.bi_sector;
	w.index = bio->bi_iter.bi_idx;
	w.done = bio->bi_iter.bi_bvec_done;
	w.vectors = (__u64)BPF_CORE_READ(bio, bi_io_vec); // as a number: 6.1 allows no arithmetic on the pointer itself
	w.base = s->base;
	w.disk = d->index;
	w.begun = bpf_ktime_get_boot_ns();
	w.at = w.failed = w.begun >> 63; // 0, but the verifier cannot know it
	w.since = enter(d, op, w.sector, w.size, w.begun);
	count(d, op, w.size >> 9);
	w.stamp = bpf_ktime_get_boot_ns();
	if (*(volatile __u64 *)&s->recording)
		record(s, &w, op);
	else
		raise(&s->unrecorded, w.stamp);
	return 0;
}

// fail tells user space of a range that has not become what was recorded.
static __always_inline void fail(struct captured *d, __u64 name, __u64 sector, __u32 bytes)
{
	struct state *s = the_state();
	if (!s || !*(volatile __u64 *)&s->recording || !bytes)
		return;
	struct walk w = {.bio = name, .sector = sector, .size = bytes, .disk = d->index, .since = NEVER};
	w.begun = w.stamp = bpf_ktime_get_boot_ns();
	if (record_heading(&w, OP_FAILED, 0))
		lose(s);
}

// A bio that ends without a request (REQ_NOWAIT, or refused at submission): those of requests do not come by here.
SEC("tp_btf/block_bio_complete")
int on_bio_complete(__u64 *ctx)
{
	struct bio *bio = (void *)ctx[1];
	struct captured *d = disk_of_bio(bio);
	if (!d)
		return 0;
	__u64 op = bio->bi_opf & OP_MASK, sector = bio->bi_iter.bi_sector;
	__u32 size = bio->bi_iter.bi_size;
	if (!(op & 1) || !size)
		return 0;
	fail(d, (__u64)bio, sector, size);
	count(d, op, -(__s64)(size >> 9));
	leave(d, op, sector, size);
	return 0;
}

// A bio that was seen being queued for another device and is redirected onto a captured one without being queued again: it
// is not recorded. Bios of dm and md are clones, and those of partitions are remapped before: they come by unmarked.
SEC("tp_btf/block_bio_remap")
int on_remap(__u64 *ctx)
{
	struct bio *bio = (void *)ctx[0];
	struct state *s = the_state();
	if (!s || !s->traced || !(bio->bi_flags & s->traced) || !(bio->bi_opf & 1))
		return 0;
	if (!bio->bi_iter.bi_size || !disk_of_bio(bio))
		return 0;
	__sync_fetch_and_add(&s->remapped, 1);
	lose(s);
	return 0;
}

// Completions can be lost (BPF programs are skipped on some kernels while certain threads are current). What a request held
// is taken out of pending when another request appears in its place; how it ended is not known.
SEC("tp_btf/block_rq_issue")
int on_issue(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	struct captured *d = disk_of_request(rq);
	if (!d)
		return 0;
	__u64 op = rq->cmd_flags & OP_MASK, key = (__u64)rq;
	if (!(op & 1))
		return 0;
	if (op >= OP_DRIVER) {
		struct state *s = the_state();
		if (s)
			lose(s);
		return 0;
	}
	struct flight now = {.sector = rq->__sector, .bytes = rq->__data_len, .op = op, .index = d->index};
	struct flight *old = bpf_map_lookup_elem(&flights, &key);
	// The same range once more is most likely the same request, issued again.
	if (old && old->index == now.index && (old->sector != now.sector || old->bytes != now.bytes || old->op != now.op)) {
		fail(d, key, old->sector, old->bytes);
		leave(d, old->op, old->sector, old->bytes);
	}
	bpf_map_update_elem(&flights, &key, &now, BPF_ANY);
	return 0;
}

// Attached last of all: whoever sees a bucket empty also sees the marks of the bitmap.
SEC("tp_btf/block_rq_complete")
int on_complete(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	__u32 bytes = (__u32)ctx[2];
	struct captured *d = disk_of_request(rq);
	if (!d)
		return 0;
	__u64 op = rq->cmd_flags & OP_MASK, key = (__u64)rq;
	if (!(op & 1) || op >= OP_DRIVER)
		return 0;
	struct state *s = the_state();
	__u64 sector = rq->__sector;
	if (ctx[1] & 0xffffffff)
		fail(d, key, sector, bytes);
	if (s && rq->start_time_ns < d->begun) {
		__sync_fetch_and_add(&s->early, 1);
		lose(s);
	}
	struct flight *f = bpf_map_lookup_elem(&flights, &key);
	if (f && bytes < f->bytes) { // a part; the rest completes later
		f->sector += bytes >> 9;
		f->bytes -= bytes;
	} else if (f) {
		bpf_map_delete_elem(&flights, &key);
	}
	leave(d, op, sector, bytes);
	return 0;
}

// calibrate finds where the bytes of pages are, from buffers whose page and address are both known. Of a page inside a
// folio only the folio is known on newer kernels: its address minus the folio's is too large, so the least counts.
SEC("tp_btf/block_dirty_buffer")
int calibrate(__u64 *ctx)
{
	struct buffer_head *bh = (void *)ctx[0];
	struct buffer_head___page *older = (void *)bh;
	struct state *s = the_state();
	if (!s || BPF_CORE_READ(bh, b_bdev, bd_dev) != s->scratch)
		return 0;
	__u64 page;
	if (bpf_core_field_exists(older->b_page))
		page = (__u64)BPF_CORE_READ(older, b_page);
	else
		page = (__u64)BPF_CORE_READ(bh, b_folio);
	__u64 base = ((__u64)BPF_CORE_READ(bh, b_data) & ~(PAGE - 1ULL)) - page * (PAGE / bpf_core_type_size(struct page));
	if (!s->calls || base < s->base)
		s->base = base;
	s->caller = bpf_get_current_pid_tgid() >> 32;
	__sync_fetch_and_add(&s->calls, 1);
	return 0;
}
