CASE WHEN collection IN ('web', 'wikiart', 'coco', 'sam', 'lcs', 'textcaps') AND contains(source_key, '://') AND (meta->>'name') IS NULL
       THEN collection || '/images/' || image_id || '.' || lower(replace(format, 'JPEG', 'jpg'))
     WHEN collection = 'coco' THEN 'coco/train2017/' || regexp_replace(regexp_extract(source_key, '[^/]*$'), '^COCO_[a-z]+2014_', '')
     WHEN collection = 'lcs' THEN 'llava/llava_pretrain/images/' || source_key
     WHEN collection = 'sam' THEN 'sam/images/' || regexp_extract(source_key, '[^/]*$')
     WHEN collection = 'textcaps' THEN 'share_textvqa/images/' || source_key || '.jpg'
     WHEN collection = 'wikiart' THEN 'wikiart/images/' || regexp_extract(source_key, '[^/]*$')
     WHEN collection = 'web' THEN 'web-' || coalesce(subset, 'other') || '/images/'
       || replace(coalesce(meta->>'name', regexp_extract(source_key, '[^/]*$')), '/', '_') || '.' || lower(replace(format, 'JPEG', 'jpg'))
     WHEN contains(source_key, '://') THEN collection || '/images/' || image_id || '.' || lower(replace(format, 'JPEG', 'jpg'))
     ELSE collection || '/images/' || source_key END
