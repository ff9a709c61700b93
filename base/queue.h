/* base/queue.h: a bounded queue that hands objects from many threads to one.
 *
 * Intrusive: an object embeds a queue_item and is owned by the queue from push to take. Bounded in
 * count and bytes; a full queue refuses (the caller applies back-pressure). FIFO. */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_item {
    struct queue_item *next;
    size_t bytes; /* what it counts for; set by queue_push */
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* an item came, or the queue was closed */
    pthread_cond_t taken;   /* room was made */
    struct queue_item *head, **tail;
    size_t count, bytes;
    size_t count_max, bytes_max;
    bool closed;
    void (*wake)(
        void *context); /* called, outside the lock, when the queue was empty; may be NULL */
    void *wake_context;
};

void queue_init(struct queue *q, size_t count_max, size_t bytes_max);
void queue_deinit(struct queue *q);
/* For a consumer that does not sleep in queue_take_all (the loop thread): @wake is called on every
 * push into an empty queue. Set before the first push. */
void queue_on_arrival(struct queue *q, void (*wake)(void *context), void *context);

/* 0; -EAGAIN when full (an item larger than bytes_max enters an empty queue); -EPIPE when closed.
 */
int queue_push(struct queue *q, struct queue_item *item, size_t bytes);
/* As queue_push, but waits for room. -EPIPE when closed. */
int queue_push_wait(struct queue *q, struct queue_item *item, size_t bytes);
/* Take everything, in order (a list linked by next), or NULL when empty. */
struct queue_item *queue_take_all(struct queue *q);
/* Take one; waits until there is one; NULL when the queue is closed and empty. */
struct queue_item *queue_take_one_wait(struct queue *q);
/* As queue_take_all, but waits for an item; NULL when the queue is closed and empty. */
struct queue_item *queue_take_all_wait(struct queue *q);
void queue_close(struct queue *q);
size_t queue_count(struct queue *q);

#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
