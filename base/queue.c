#include "base/queue.h"

#include <errno.h>

void queue_init(struct queue *q, size_t count_max, size_t bytes_max)
{
    *q = (struct queue){.count_max = count_max, .bytes_max = bytes_max};
    q->tail = &q->head;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->arrived, NULL);
    pthread_cond_init(&q->taken, NULL);
}

void queue_deinit(struct queue *q)
{
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->arrived);
    pthread_cond_destroy(&q->taken);
}

void queue_on_arrival(struct queue *q, void (*wake)(void *context), void *context)
{
    q->wake = wake;
    q->wake_context = context;
}

static bool has_room(const struct queue *q, size_t bytes)
{
    return q->count == 0 ||
           (q->count < q->count_max && bytes <= q->bytes_max && q->bytes <= q->bytes_max - bytes);
}

/* Called with the lock held; releases it. */
static int push_locked(struct queue *q, struct queue_item *item, size_t bytes)
{
    bool was_empty = q->count == 0;
    item->next = NULL;
    item->bytes = bytes;
    *q->tail = item;
    q->tail = &item->next;
    q->count++;
    q->bytes += bytes;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_signal(&q->arrived);
    if (was_empty && q->wake)
        q->wake(q->wake_context);
    return 0;
}

int queue_push(struct queue *q, struct queue_item *item, size_t bytes)
{
    pthread_mutex_lock(&q->lock);
    if (q->closed || !has_room(q, bytes)) {
        int rc = q->closed ? -EPIPE : -EAGAIN;
        pthread_mutex_unlock(&q->lock);
        return rc;
    }
    return push_locked(q, item, bytes);
}

int queue_push_wait(struct queue *q, struct queue_item *item, size_t bytes)
{
    pthread_mutex_lock(&q->lock);
    while (!q->closed && !has_room(q, bytes))
        pthread_cond_wait(&q->taken, &q->lock);
    if (q->closed) {
        pthread_mutex_unlock(&q->lock);
        return -EPIPE;
    }
    return push_locked(q, item, bytes);
}

/* Called with the lock held; releases it. */
static struct queue_item *take_all_locked(struct queue *q)
{
    struct queue_item *all = q->head;
    q->head = NULL;
    q->tail = &q->head;
    q->count = 0;
    q->bytes = 0;
    pthread_mutex_unlock(&q->lock);
    if (all)
        pthread_cond_broadcast(&q->taken);
    return all;
}

struct queue_item *queue_take_all(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    return take_all_locked(q);
}

struct queue_item *queue_take_all_wait(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (!q->head && !q->closed)
        pthread_cond_wait(&q->arrived, &q->lock);
    return take_all_locked(q);
}

struct queue_item *queue_take_one_wait(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (!q->head && !q->closed)
        pthread_cond_wait(&q->arrived, &q->lock);
    struct queue_item *item = q->head;
    if (item) {
        q->head = item->next;
        if (!q->head)
            q->tail = &q->head;
        q->count--;
        q->bytes -= item->bytes;
    }
    pthread_mutex_unlock(&q->lock);
    if (item)
        pthread_cond_signal(&q->taken);
    return item;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    pthread_cond_broadcast(&q->arrived);
    pthread_cond_broadcast(&q->taken);
}

size_t queue_count(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    size_t count = q->count;
    pthread_mutex_unlock(&q->lock);
    return count;
}
